#!/bin/bash
#SBATCH --job-name=sampler_job
#SBATCH --ntasks=1
#SBATCH --time=10
#SBATCH --qpu=ibm_sherbrooke

srun python sampler.py
