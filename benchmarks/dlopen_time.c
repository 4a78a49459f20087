/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Prints the nanoseconds that loading a SPANK plugin takes, with the flags that Slurm uses.
 *
 * usage: dlopen_time PLUGIN
 */
#include <dlfcn.h>
#include <stdio.h>
#include <time.h>

int main(int argc, char **argv)
{
	struct timespec before, after;
	void *plugin;

	if (argc != 2)
		return 2;
	clock_gettime(CLOCK_MONOTONIC, &before);
	plugin = dlopen(argv[1], RTLD_LAZY);
	clock_gettime(CLOCK_MONOTONIC, &after);
	if (plugin == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	printf("%lld\n", (after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec);
	return 0;
}
