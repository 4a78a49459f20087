/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A SPANK plugin that writes down, in each hook, what other plugins must leave in slurmstepd as it
 * was. Its argument is the folder; WITNESS is its name, which is in those of its files.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <slurm/spank.h>

#define DECLARE(name) SPANK_PLUGIN(name, 1)
#define TEXT_OF(name) #name
#define NAME_OF(name) TEXT_OF(name)

DECLARE(WITNESS)

static void write_status(FILE *file)
{
	static const char *const kept[] = { "SigBlk", "Umask",  "Uid",	 "Gid",
					    "Groups", "CapEff", "NoNewPrivs" };
	char line[4096];
	FILE *status = fopen("/proc/self/status", "r");

	while (status != NULL && fgets(line, sizeof(line), status) != NULL)
		for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
			if (strncmp(line, kept[i], strlen(kept[i])) == 0)
				fputs(line, file);
	if (status != NULL)
		fclose(status);
}

/* SA_RESTORER of the kernel: the C library's own, once a handler was set, be it the same. */
#define RESTORER 0x04000000

/* The file that a handler is of. */
static const char *home_of(void *handler)
{
	Dl_info found;

	if (dladdr(handler, &found) == 0 || found.dli_fname == NULL)
		return "none";
	return found.dli_fname;
}

static void write_signals(FILE *file)
{
	struct sigaction action;

	for (int number = 1; number < NSIG; number++) {
		if (sigaction(number, NULL, &action) != 0)
			continue;
		void *handler = (void *)action.sa_sigaction;

		fprintf(file, "signal %d %p %#x of %s\n", number, handler,
			action.sa_flags & ~RESTORER, home_of(handler));
	}
}

static void write_limits(FILE *file)
{
	struct rlimit limit;

	for (int kind = 0; kind < RLIMIT_NLIMITS; kind++)
		if (getrlimit(kind, &limit) == 0)
			fprintf(file, "limit %d %lu %lu\n", kind, (unsigned long)limit.rlim_cur,
				(unsigned long)limit.rlim_max);
}

static int testify(const char *hook, int count, char **arguments)
{
	char path[4096], folder[4096];
	FILE *file;

	if (count != 1)
		return 0;
	snprintf(path, sizeof(path), "%s/%s-%d-%s", arguments[0], hook, (int)getpid(),
		 NAME_OF(WITNESS));
	file = fopen(path, "we");
	if (file == NULL)
		return 0;
	write_status(file);
	write_signals(file);
	write_limits(file);
	fprintf(file, "cwd %s\n", getcwd(folder, sizeof(folder)) == NULL ? "" : folder);
	fprintf(file, "locale %s\n", setlocale(LC_ALL, NULL));
	for (char **entry = environ; entry != NULL && *entry != NULL; entry++)
		fprintf(file, "environ %s\n", *entry);
	fclose(file);
	return 0;
}

#define HOOK(name)                                                             \
	int slurm_spank_##name(spank_t spank, int count, char **arguments)     \
	{                                                                      \
		if (spank_remote(spank) != 1)                                  \
			return 0;                                              \
		return testify(#name, count, arguments);                       \
	}

HOOK(init)
HOOK(init_post_opt)
HOOK(task_init)
HOOK(task_exit)
HOOK(exit)
