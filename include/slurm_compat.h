/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What differs between Slurm releases, and nothing else. Checked against 22.05.8, 23.11.4,
 * 24.11.5, 25.11.2 and 26.05.5.
 */
#ifndef SPANK_QRMI_SLURM_COMPAT_H
#define SPANK_QRMI_SLURM_COMPAT_H

#include <slurm/slurm.h>
#include <slurm/slurm_version.h>

/* SHOW_LOCAL: without it a federation is asked first, one more wait for the controller. */
static inline int compat_load_job(job_info_msg_t **answer, uint32_t job_id)
{
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(26, 5, 0)
	slurm_step_id_t id = SLURM_STEP_ID_INITIALIZER;

	id.job_id = job_id;
	return slurm_load_job(answer, id, SHOW_LOCAL);
#else
	return slurm_load_job(answer, job_id, SHOW_LOCAL);
#endif
}

/* What the job was given; before 25.05, when nobody could ask for one of several, what it asked for. */
static inline const char *compat_job_licenses(const slurm_job_info_t *job)
{
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(25, 5, 0)
	return job->licenses_allocated;
#else
	return job->licenses;
#endif
}

#endif
