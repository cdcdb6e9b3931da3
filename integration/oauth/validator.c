/*
 * A token validator for the tests (PostgreSQL documentation, chapter "OAuth Validator Modules"). It believes what a token
 * says and checks no signature: it is of no use to anybody else.
 *
 * A token is good when its claim "sub" is the role, unless the claim "refused_by_server" is there.
 */
#include "postgres.h"

#include "fmgr.h"
#include "libpq/oauth.h"

PG_MODULE_MAGIC;

static int
digit(char c)
{
	const char *digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const char *found = c ? strchr(digits, c) : NULL;

	return found ? (int) (found - digits) : -1;
}

/* The second part of the token, decoded from base64url. */
static char *
payload(const char *token)
{
	const char *from = strchr(token, '.');
	char	   *text = palloc0(strlen(token) + 1);
	char	   *to = text;
	uint32		bits = 0;
	int			count = 0;

	for (from = from ? from + 1 : ""; digit(*from) >= 0; from++)
	{
		bits = (bits << 6) | (uint32) digit(*from);
		count += 6;
		if (count >= 8)
		{
			count -= 8;
			*to++ = (char) ((bits >> count) & 0xff);
		}
	}
	return text;
}

/* The value of a claim that is a plain string; NULL where there is none. */
static char *
claim(const char *claims, const char *name)
{
	char	   *key = psprintf("\"%s\":", name);
	const char *value = strstr(claims, key);

	if (value == NULL)
		return NULL;
	value += strlen(key);
	value += strspn(value, " ");
	if (*value != '"')
		return NULL;
	value++;
	return pnstrdup(value, strcspn(value, "\""));
}

static bool
validate(const ValidatorModuleState *state, const char *token, const char *role, ValidatorModuleResult *result)
{
	char	   *claims = payload(token);
	char	   *subject = claim(claims, "sub");

	result->authn_id = subject;
	result->authorized = subject && strcmp(subject, role) == 0 && strstr(claims, "\"refused_by_server\"") == NULL;
	return true;
}

static const OAuthValidatorCallbacks callbacks = {
	.magic = PG_OAUTH_VALIDATOR_MAGIC,
	.validate_cb = validate,
};

const OAuthValidatorCallbacks *
_PG_oauth_validator_module_init(void)
{
	return &callbacks;
}
