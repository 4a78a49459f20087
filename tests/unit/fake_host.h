/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The fake host's orders, and how its two halves tell what they see.
 */
#ifndef FAKE_HOST_H
#define FAKE_HOST_H

#include <stdbool.h>
#include <stddef.h>

#include <slurm/slurm.h>
#include <slurm/spank.h>

#define MOST 4096

struct list {
	size_t count;
	char *items[MOST];
};

struct host {
	struct list arguments;	 /* of the plugstack line */
	struct list environment; /* of the job; kept NULL-terminated */
	struct list options;	 /* values of --qpu, in the order given */
	struct list states;	 /* answers of slurmctld in turn, the last one again and again */
	struct list missing;	 /* names of items that spank_get_item does not know */
	struct list unsettable;	 /* names of variables that spank_setenv refuses */
	struct list closed;	 /* descriptors that are closed before the first hook */
	unsigned int remote, job_id, step_id, uid, restart_count, node_index, tasks, is_batch;
	unsigned int time_limit, start_time, register_error, speed;
	size_t loads;
	int task;
	const char *reporter;	 /* prefix of the report's lines: empty, or "task-" in a task */
	struct spank_option option;
};

extern struct host host;

/* Write one line of the report, as a whole and with its NUL. */
void report(const char *kind, const char *format, ...) __attribute__((format(printf, 2, 3)));

bool holds(const struct list *list, const char *text);
void append(struct list *list, const char *text);

#endif
