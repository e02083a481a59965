/* Requests of MongoDB clients in the access log. Worker's thread. */
#ifndef PT_CORE_MONGO_SAMPLE_H
#define PT_CORE_MONGO_SAMPLE_H

#include "core/mongo/mongo.h"
#include "wire/mongo_command.h"

/* The next request is this one: what pt_access_end takes when it is sampled, else NULL. */
pt_access_request *pt_mongo_sample(pt_mongo_client *c, const pt_mongo_message *m, const pt_mongo_command *cmd);
/* It has ended, at the backend of that stable id. */
void pt_mongo_sampled(pt_mongo *m, pt_access_request *r, uint32_t backend, int32_t code);

#endif
