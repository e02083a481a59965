/* SCRAM for clients: saslStart and saslContinue against the users of the configuration. Pure but for the conversation it keeps. */
#ifndef PT_CORE_MONGO_SASL_H
#define PT_CORE_MONGO_SASL_H

#include "base/errors.h"
#include "core/config.h"
#include "wire/mongo_command.h"
#include "wire/scram.h"

typedef struct pt_sasl pt_sasl;

typedef enum pt_sasl_result {
  PT_SASL_MORE, /* doc has the answer; the conversation goes on */
  PT_SASL_IN, /* authenticated; doc has the last answer but for an empty exchange, if the client wants that */
  PT_SASL_REFUSED, /* doc has the error */
} pt_sasl_result;

/* One step; *s: the conversation, NULL: none. Fills doc. user: as whom, for the log; "" when not known. */
pt_sasl_result pt_sasl_step(pt_sasl **s, const pt_mongo_user *users, unsigned nusers, const pt_mongo_message *msg,
                            const pt_mongo_command *cmd, bson_t *doc, const char **user);
void pt_sasl_free(pt_sasl *s); /* wipes it; NULL is allowed */

#endif
