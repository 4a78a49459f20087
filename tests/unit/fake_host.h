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

/* What a test can order: a list takes each value, a number the last one. */
#define LISTS(X)                                                                                   \
	X(arguments)	  /* of the plugstack line */                                              \
	X(second_line)	  /* arguments of another line of the plugin, if is_listed_twice */        \
	X(environment)	  /* of the job; kept NULL-terminated */                                   \
	X(options)	  /* values of the plugin's first option, in the order given */            \
	X(second_options) /* values of its second option */                                        \
	X(command)	  /* of the job: a program and its arguments */                            \
	X(statuses)	  /* wait statuses that the tasks end with, 0 unless told */               \
	X(states)	  /* answers of slurmctld in turn, the last one again and again */         \
	X(missing)	  /* names of items that spank_get_item does not know */                   \
	X(unsettable)	  /* names of variables that spank_setenv refuses */                       \
	X(gids)		  /* of the job's processes, beside its own */                             \
	X(closed)	  /* descriptors that are closed before the first hook */                  \
	X(licenses) X(account) X(partition) X(user_name) /* what slurmctld says: the last counts */

#define NUMBERS(X)                                                                                 \
	X(remote) X(job_id) X(step_id) X(uid) X(gid) X(restart_count) X(node_index) X(tasks)       \
	X(array_job_id) X(array_task_id) X(het_job_offset) X(restart_cnt)                          \
	X(time_limit) X(start_time) X(register_error) X(speed)                                     \
	X(het_job_id)	   /* leader of a heterogeneous job, 0 for other jobs */                   \
	X(is_random_out)   /* getrandom fails */                                                   \
	X(unreaped)	   /* number of the task, from 1, at whose exit another child waits */     \
	X(error_seconds)   /* that each error takes, as where nobody reads the job's stderr */     \
	X(is_listed_twice)                                                                         \
	X(submits)	   /* how often each task tells of a quantum job */                        \
	X(is_epilog)	   /* the epilog's process, instead of a step's */

#define LIST(name) struct list name;
#define NUMBER(name) unsigned int name;

struct host {
	LISTS(LIST)
	NUMBERS(NUMBER)
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
