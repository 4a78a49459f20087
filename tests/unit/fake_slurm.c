/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What a plugin calls in Slurm, answered as ordered; and a clock that may run faster than time.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <slurm/slurm_version.h>

#include "fake_host.h"

#define LOGGER(level)                                                                              \
	void slurm_##level(const char *format, ...)                                                \
	{                                                                                          \
		char *text;                                                                        \
		va_list arguments;                                                                 \
                                                                                                   \
		va_start(arguments, format);                                                       \
		if (vasprintf(&text, format, arguments) < 0)                                       \
			abort();                                                                   \
		va_end(arguments);                                                                 \
		report("log-" #level, "%s", text);                                                 \
		free(text);                                                                        \
		if (strcmp(#level, "error") == 0)                                                  \
			host.waited_seconds += host.error_seconds;                                 \
	}

LOGGER(error)
LOGGER(info)
LOGGER(verbose)
LOGGER(debug)
LOGGER(debug2)

int spank_remote(spank_t spank)
{
	(void)spank;
	return host.remote;
}

const char *spank_strerror(spank_err_t error)
{
	return error == ESPANK_ERROR ? "Generic error" : "Another error";
}

spank_err_t spank_option_register(spank_t spank, struct spank_option *option)
{
	(void)spank;
	report("option", "--%s=%s %d %d %s", option->name, option->arginfo, option->has_arg,
	       option->val, option->usage);
	/* As Slurm does it: the first plugin that has an option keeps it. */
	for (size_t i = 0; i < host.option_count; i++) {
		if (strcmp(host.registered[i].name, option->name) == 0)
			return ESPANK_SUCCESS;
	}
	if (host.option_count == MOST_OPTIONS)
		abort();
	host.registered[host.option_count++] = *option;
	return host.register_error ? ESPANK_ERROR : ESPANK_SUCCESS;
}

static char *last_of(const struct list *list)
{
	return list->count > 0 ? list->items[list->count - 1] : NULL;
}

#define GIVE(item, name, orders)                                                                   \
	case item:                                                                                 \
		if (holds(&host.missing, name))                                                    \
			return ESPANK_NOT_AVAIL;                                                   \
		orders;                                                                            \
		return ESPANK_SUCCESS;
#define GIVE_NUMBER(item, name) GIVE(item, #name, *(uint32_t *)place = host.name)

spank_err_t spank_get_item(spank_t spank, spank_item_t item, ...)
{
	static gid_t gids[MOST];
	va_list arguments;
	void *place, *second_place = NULL;

	(void)spank;
	va_start(arguments, item);
	place = va_arg(arguments, void *);
	if (item == S_JOB_ARGV || item == S_JOB_SUPPLEMENTARY_GIDS)
		second_place = va_arg(arguments, void *);
	va_end(arguments);
	for (size_t i = 0; i < host.gids.count; i++)
		gids[i] = strtoul(host.gids.items[i], NULL, 10);
	switch (item) {
	GIVE_NUMBER(S_JOB_ID, job_id)
	GIVE_NUMBER(S_JOB_STEPID, step_id)
	GIVE_NUMBER(S_JOB_UID, uid)
	GIVE_NUMBER(S_JOB_GID, gid)
	GIVE_NUMBER(S_JOB_NODEID, node_index)
	GIVE_NUMBER(S_SLURM_RESTART_COUNT, restart_count)
	GIVE_NUMBER(S_TASK_ID, task)
	GIVE_NUMBER(S_TASK_EXIT_STATUS, status)
	GIVE_NUMBER(S_JOB_LOCAL_TASK_COUNT, tasks)
	GIVE(S_JOB_ENV, "environment", *(char ***)place = host.environment.items)
	GIVE(S_JOB_SUPPLEMENTARY_GIDS, "gids",
	     *(gid_t **)place = gids;
	     *(int *)second_place = host.gids.count)
	GIVE(S_JOB_ARGV, "command",
	     *(int *)place = host.command.count;
	     *(char ***)second_place = host.command.items)
	default:
		return ESPANK_BAD_ARG;
	}
}

spank_err_t spank_setenv(spank_t spank, const char *name, const char *value, int overwrite)
{
	char *entry;
	size_t length = strlen(name);

	(void)spank;
	if (!overwrite || holds(&host.unsettable, name))
		return ESPANK_ERROR;
	report("set", "%s=%s", name, value);
	if (asprintf(&entry, "%s=%s", name, value) < 0)
		abort();
	for (size_t i = 0; i < host.environment.count; i++) {
		char **old = &host.environment.items[i];

		if (strncmp(*old, name, length) == 0 && (*old)[length] == '=') {
			/* Freed as Slurm does it: whoever kept the old text reads what is gone. */
			free(*old);
			*old = entry;
			return ESPANK_SUCCESS;
		}
	}
	append(&host.environment, entry);
	free(entry);
	return ESPANK_SUCCESS;
}

#define TELL(name) found->name = host.name;

#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(26, 5, 0)
int slurm_load_job(job_info_msg_t **answer, slurm_step_id_t job, uint16_t flags)
{
	uint32_t job_id = job.job_id;
#else
int slurm_load_job(job_info_msg_t **answer, uint32_t job_id, uint16_t flags)
{
#endif
	size_t turn = host.loads++;
	slurm_job_info_t *found;
	const char *state;
	siginfo_t child;

	if (turn >= host.states.count)
		turn = host.states.count - 1;
	state = host.states.items[turn];
	report("load", "%u %d %s", job_id, flags, state);
	if (waitid(P_ALL, 0, &child, WEXITED | WNOHANG | WNOWAIT) == 0)
		report("load-beside-worker", "%u", job_id);
	if (strcmp(state, "silent") == 0)
		return SLURM_ERROR;
	*answer = calloc(1, sizeof(**answer));
	if (strcmp(state, "unknown") == 0)
		return SLURM_SUCCESS;
	(*answer)->record_count = 1;
	(*answer)->job_array = found = calloc(1, sizeof(*found));
	found->job_state = strtoul(state, NULL, 0);
	TELL(het_job_id) TELL(het_job_offset) TELL(array_job_id) TELL(array_task_id)
	TELL(time_limit) TELL(start_time) TELL(restart_cnt)
	found->account = last_of(&host.account);
	found->partition = last_of(&host.partition);
	found->user_name = last_of(&host.user_name);
#if SLURM_VERSION_NUMBER >= SLURM_VERSION_NUM(25, 5, 0)
	found->licenses_allocated = last_of(&host.licenses);
#else
	found->licenses = last_of(&host.licenses);
#endif
	return SLURM_SUCCESS;
}

void slurm_free_job_info_msg(job_info_msg_t *answer)
{
	free(answer->job_array);
	free(answer);
}

/* What qrun does in a task before it submits: spank_qrmi/qrun/submission_mark.py. */
void submit(void)
{
	static const char name[] = "IBMQRUN_JOB_ID=";
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int sender = socket(AF_UNIX, SOCK_DGRAM, 0);
	int length;

	for (size_t i = 0; i < host.environment.count; i++) {
		if (strncmp(host.environment.items[i], name, strlen(name)) != 0)
			continue;
		length = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1,
				  "spank_ibm_qrun/%.28s", host.environment.items[i] + strlen(name));
		sendto(sender, "", 1, MSG_DONTWAIT, (struct sockaddr *)&address,
		       sizeof(address.sun_family) + 1 + length);
	}
	close(sender);
}

ssize_t getrandom(void *bytes, size_t count, unsigned int flags)
{
	return host.is_random_out ? -1 : syscall(SYS_getrandom, bytes, count, flags);
}

/* ---- Time, which may run faster than real time so that no test waits for a deadline ---- */

int clock_gettime(clockid_t clock, struct timespec *now)
{
	long result = syscall(SYS_clock_gettime, clock, now);
	unsigned long long nanoseconds;

	if (clock == CLOCK_MONOTONIC && host.speed > 1) {
		nanoseconds = now->tv_sec * 1000000000ULL + now->tv_nsec;
		nanoseconds *= host.speed;
		now->tv_sec = nanoseconds / 1000000000ULL;
		now->tv_nsec = nanoseconds % 1000000000ULL;
	}
	if (clock == CLOCK_MONOTONIC)
		now->tv_sec += host.waited_seconds;
	return result;
}

int poll(struct pollfd *descriptors, nfds_t count, int milliseconds)
{
	struct timespec limit = { 0 };

	if (milliseconds < 0)
		return ppoll(descriptors, count, NULL, NULL);
	limit.tv_sec = milliseconds / 1000 / host.speed;
	limit.tv_nsec = milliseconds * 1000000ULL / host.speed % 1000000000ULL;
	return ppoll(descriptors, count, &limit, NULL);
}
