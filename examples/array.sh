#!/bin/bash
#SBATCH --job-name=array_job
#SBATCH --array=0-4:2
#SBATCH --ntasks=1
#SBATCH --time=10
#SBATCH --qpu=ibm_sherbrooke

# Each task of the array is a job of its own, which acquires and releases its QPU for itself.
srun python rotation.py "$SLURM_ARRAY_TASK_ID"
