/*
 * Gives libpq 18 a way to get tokens, as an application does (PostgreSQL documentation, section "OAuth Support" of libpq):
 * a program of the test's choice, OAUTH_FLOW, which finds the address of the discovery document and the scope in its
 * environment and prints the token. Loaded into an unchanged psql by LD_PRELOAD.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libpq-fe.h"

static void
forget(PGconn *conn, PGoauthBearerRequest *request)
{
	free(request->token);
}

static int
hook(PGauthData type, PGconn *conn, void *data)
{
	PGoauthBearerRequest *request = data;
	const char *program = getenv("OAUTH_FLOW");
	char	   *token = NULL;
	size_t		room = 0;
	FILE	   *output;

	if (type != PQAUTHDATA_OAUTH_BEARER_TOKEN || program == NULL)
		return 0;
	setenv("OAUTH_DISCOVERY_URL", request->openid_configuration, 1);
	setenv("OAUTH_SCOPE", request->scope ? request->scope : "", 1);
	output = popen(program, "r");
	if (output == NULL || getline(&token, &room, output) <= 0 || pclose(output) != 0)
		return -1;
	token[strcspn(token, "\n")] = '\0';
	request->token = token;
	request->cleanup = forget;
	return 1;
}

__attribute__((constructor))
static void
install(void)
{
	void		(*set) (PQauthDataHook_type) = dlsym(RTLD_DEFAULT, "PQsetAuthDataHook");

	/* What psql starts has no libpq of its own. */
	unsetenv("LD_PRELOAD");
	if (set)
		set(hook);
}
