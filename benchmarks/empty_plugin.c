/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What a job pays for any SPANK plugin: the hooks of spank_qrmi.so, each without a body. The last one
 * makes slurmd start a process at the end of each job, so without it the comparison would not be fair.
 */
#include <slurm/spank.h>

SPANK_PLUGIN(empty_plugin, 1)

#define EMPTY_HOOK(name)                              \
	int name(spank_t spank, int argc, char **argv) \
	{                                             \
		(void)spank;                          \
		(void)argc;                           \
		(void)argv;                           \
		return 0;                             \
	}

EMPTY_HOOK(slurm_spank_init)
EMPTY_HOOK(slurm_spank_init_post_opt)
EMPTY_HOOK(slurm_spank_task_init)
EMPTY_HOOK(slurm_spank_exit)
EMPTY_HOOK(slurm_spank_job_epilog)
