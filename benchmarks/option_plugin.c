/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What a plugin in C pays that registers the option of spank_qrmi.so and writes its log lines: how much of
 * ours is Slurm's own work for an option.
 */
#include <slurm/slurm.h>
#include <slurm/spank.h>
#include <unistd.h>

SPANK_PLUGIN(option_plugin, 1)

static int take(int value, const char *names, int remote)
{
	(void)value;
	(void)names;
	(void)remote;
	return 0;
}

static int log_hook(spank_t spank, const char *hook, int argc)
{
	slurm_debug("option_plugin(%d, %d): -> %s argc=%d remote=%d", getpid(), (int)getuid(), hook,
		    argc, spank_remote(spank));
	slurm_debug("option_plugin(%d,%d): <- %s rc=0", getpid(), (int)getuid(), hook);
	return 0;
}

#define LOGGING_HOOK(name)                             \
	int name(spank_t spank, int argc, char **argv) \
	{                                              \
		(void)argv;                            \
		return log_hook(spank, #name, argc);   \
	}

int slurm_spank_init(spank_t spank, int argc, char **argv)
{
	struct spank_option option = { "qpu", "names", "QPU resources to use.", 1, 0, take };

	(void)argv;
	spank_option_register(spank, &option);
	return log_hook(spank, "slurm_spank_init", argc);
}

LOGGING_HOOK(slurm_spank_init_post_opt)
LOGGING_HOOK(slurm_spank_task_init)
LOGGING_HOOK(slurm_spank_exit)
LOGGING_HOOK(slurm_spank_job_epilog)
