#!/bin/bash
#SBATCH --job-name=two_qpus_job
#SBATCH --ntasks=1
#SBATCH --time=10
#SBATCH --qpu=ibm_sherbrooke,FRESNEL

echo "QPU variables of this job:"
env | grep -E 'QPU|QRMI' | sed -E 's/((KEY|TOKEN|CRN)[^=]*)=.*/\1=****/' | sort

srun python two_qpus.py
