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

#define MOST 16384
#define MOST_OPTIONS 2

struct list {
	size_t count;
	char *items[MOST];
};

struct host {
	unsigned int het_job_id; /* leader of a heterogeneous job, 0 for other jobs */
	struct list arguments;	 /* of the plugstack line */
	struct list second_line; /* arguments of another line of the plugin, if is_listed_twice */
	struct list environment; /* of the job; kept NULL-terminated */
	struct list options;	 /* values of the plugin's first option, in the order given */
	struct list second_options; /* values of its second option */
	struct list command;	 /* of the job: a program and its arguments */
	struct list statuses;	 /* wait statuses that the tasks end with, 0 unless told */
	struct list states;	 /* answers of slurmctld in turn, the last one again and again */
	struct list missing;	 /* names of items that spank_get_item does not know */
	struct list unsettable;	 /* names of variables that spank_setenv refuses */
	struct list gids;	 /* of the job's processes, beside its own */
	struct list licenses;	 /* what slurmctld says of the job: the last one of each counts */
	struct list account;
	struct list partition;
	struct list user_name;
	struct list closed;	 /* descriptors that are closed before the first hook */
	unsigned int remote, job_id, step_id, uid, gid, restart_count, node_index, tasks;
	unsigned int array_job_id, array_task_id, het_job_offset, restart_cnt;
	unsigned int time_limit, start_time, register_error, speed;
	unsigned int is_random_out; /* getrandom fails */
	unsigned int unreaped;	 /* number of the task, from 1, at whose exit another child waits */
	unsigned int error_seconds; /* that each error takes, as where nobody reads the job's stderr */
	unsigned int is_listed_twice;
	unsigned int submits;	 /* how often each task tells of a quantum job */
	unsigned int is_epilog;	 /* the epilog's process, instead of a step's */
	unsigned int waited_seconds; /* for errors so far */
	size_t loads;
	int task, status;
	const char *reporter;	 /* prefix of the report's lines: empty, or "task-" in a task */
	size_t option_count;
	struct spank_option registered[MOST_OPTIONS];
};

extern struct host host;

/* Write one line of the report, as a whole and with its NUL. */
void report(const char *kind, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Tell the step of a quantum job, as qrun does in a task. */
void submit(void);

bool holds(const struct list *list, const char *text);
void append(struct list *list, const char *text);

#endif
