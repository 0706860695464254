/* Lists of the objects below a prefix (ListObjectsV2): what is asked, and what of the answer's XML
 * is read, which is names and whether there are more. Pure; any thread. */
#ifndef RECURD_SHARED_S3_LISTING_H
#define RECURD_SHARED_S3_LISTING_H

#include "base/limits.h"
#include "statecache/shared/kv.h"
#include "statecache/shared/s3_place.h"

#define S3_LISTING_MOST MIB(1) /* bytes of an answer; 1,000 names are 400 KB at most */
/* The prefix twice, of which every second byte may be a slash, which takes three. */
#define S3_QUERY (2 * 2 * S3_PREFIX + 4 * KV_NAME + 96)

/* The query of the page behind `page`. */
void s3_listing_query(const struct s3_place *place, enum kv_kind kind, const struct kv_page *page,
                      char out[S3_QUERY]);
/* Gives every name of n bytes to page->each, and says where it goes on. E_FORMAT: no list, or what
 * lies there besides has a name that nothing can be asked behind. */
int s3_listing_read(const struct s3_place *place, enum kv_kind kind, size_t n, const char *xml,
                    size_t n_xml, struct kv_page *page, struct err *e) MUST_USE;

/* The same of what lies where the kinds do, one name for all below it; what of these is a kind
 * that this build does not know is added to *n. Other names are not recurd's. */
void s3_listing_kinds_query(const struct s3_place *place, char out[S3_QUERY]);
int s3_listing_kinds(const struct s3_place *place, const char *xml, size_t n_xml, uint64_t *n,
                     struct err *e) MUST_USE;

#endif
