#!/bin/bash
#SBATCH --job-name=qrun_job
#SBATCH --ntasks=1
#SBATCH --time=10
#SBATCH --q-backend=ibm_torino
#SBATCH --q-primitive=sampler

srun qrun --results=bell_result.json bell.json || exit
python3 print_result.py bell_result.json
