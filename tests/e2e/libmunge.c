/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * libmunge for programs on a machine whose munged does not listen at the socket that is compiled
 * into it: credentials are made by the real one (LIBRARY), with the munged at SOCKET.
 */
#include <dlfcn.h>
#include <stddef.h>

/* As munge.h has it. */
#define EMUNGE_SNAFU 1
#define MUNGE_OPT_SOCKET 8

typedef void *create_function(void);
typedef int set_function(void *context, int option, ...);
typedef int encode_function(char **credential, void *context, const void *payload, int length);
typedef const char *strerror_function(int error);

int munge_encode(char **credential, void *context, const void *payload, int length)
{
	void *library = dlopen(LIBRARY, RTLD_NOW);

	if (library == NULL)
		return EMUNGE_SNAFU;
	create_function *create = (create_function *)dlsym(library, "munge_ctx_create");
	set_function *set = (set_function *)dlsym(library, "munge_ctx_set");
	encode_function *encode = (encode_function *)dlsym(library, "munge_encode");

	/* A program has one context, until its end. */
	if (context == NULL)
		context = create();
	set(context, MUNGE_OPT_SOCKET, SOCKET);
	return encode(credential, context, payload, length);
}

const char *munge_strerror(int error)
{
	void *library = dlopen(LIBRARY, RTLD_NOW);

	if (library == NULL)
		return LIBRARY " cannot be loaded";
	return ((strerror_function *)dlsym(library, "munge_strerror"))(error);
}
