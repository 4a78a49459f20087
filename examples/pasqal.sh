#!/bin/bash
#SBATCH --job-name=pasqal_job
#SBATCH --ntasks=1
#SBATCH --time=10
#SBATCH --qpu=FRESNEL

srun python pasqal.py
