/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The host of tests/unit/fake_slurm.c for fuzzing: what it would report is checked instead.
 */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_host.h"

struct host host = { .speed = 1, .reporter = "" };

/* In claims.pxi. */
extern void require(int holds);
extern void require_one_line(const char *text);

static const char *const own_prefixes[] = {
	"IBMQRUN_",	     "QRMI_JOB_",	  "SLURM_JOB_QPU_",
	"SLURM_EXPORT_ENV=", "SLURM_QRMI_JOB_ID=", "RUST_LOG=",
};

static bool starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool is_part(const char *part, size_t length, const char *text)
{
	return memmem(text, strlen(text), part, length) != NULL;
}

/* Whether the name begins with what the job asked for, in the option or where Slurm hides it. */
static bool begins_with_a_qpu(const char *name, size_t length)
{
	for (size_t i = 0; i < host.options.count; i++) {
		if (is_part(name, length, host.options.items[i]))
			return true;
	}
	for (size_t i = 0; i < host.environment.count; i++) {
		if (starts_with(host.environment.items[i], "SLURM_SPANK_") &&
		    is_part(name, length, host.environment.items[i]))
			return true;
	}
	return false;
}

static bool is_of_site(const char *text, size_t length)
{
	for (size_t i = 0; i < host.arguments.count; i++) {
		const char *argument = host.arguments.items[i];

		if (starts_with(argument, "--env:") && strncmp(argument + 6, text, length + 1) == 0)
			return true;
	}
	return false;
}

/* Whatever an answer says, a job keeps its PATH and gains no LD_PRELOAD. */
static void require_variable(const char *text)
{
	const char *equals = strchr(text, '=');
	bool is_allowed;
	char *name;

	require(equals != NULL && equals > text);
	name = strndup(text, equals - text);
	require(name != NULL && strchr(name, ' ') == NULL);
	require_one_line(name);
	is_allowed = is_of_site(text, equals - text);
	for (size_t i = 0; i < sizeof(own_prefixes) / sizeof(own_prefixes[0]); i++)
		is_allowed = is_allowed || starts_with(text, own_prefixes[i]);
	for (size_t i = 1; name[i] != 0; i++)
		is_allowed = is_allowed || (name[i] == '_' && begins_with_a_qpu(name, i));
	require(is_allowed);
	free(name);
}

void report(const char *kind, const char *format, ...)
{
	char *text;
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		abort();
	va_end(arguments);
	if (strncmp(kind, "log-", 4) == 0)
		require_one_line(text);
	else if (strcmp(kind, "set") == 0)
		require_variable(text);
	free(text);
}

bool holds(const struct list *list, const char *text)
{
	for (size_t i = 0; i < list->count; i++) {
		if (strcmp(list->items[i], text) == 0)
			return true;
	}
	return false;
}

void append(struct list *list, const char *text)
{
	if (list->count + 1 >= MOST)
		return;
	list->items[list->count++] = strdup(text);
	list->items[list->count] = NULL;
}
