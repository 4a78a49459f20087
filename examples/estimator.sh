#!/bin/bash
#SBATCH --job-name=estimator_job
#SBATCH --ntasks=1
#SBATCH --time=10
#SBATCH --qpu=ibm_sherbrooke

srun python estimator.py
