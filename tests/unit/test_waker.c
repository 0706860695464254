/* Suspending and waking: whoever waits for the last one sees nobody on the way. */
#include <criterion/criterion.h>

#include "server/http/waker.h"

static int suspended, resumes, woken, left;

/* Instead of the library's. */
void MHD_suspend_connection(struct MHD_Connection *c);
void MHD_resume_connection(struct MHD_Connection *c);
void MHD_suspend_connection(struct MHD_Connection *c) { (void)c; }
void MHD_resume_connection(struct MHD_Connection *c)
{
    (void)c;
    resumes++;
    left = suspended;
}

static void tell(void *arg)
{
    (void)arg;
    woken++;
    left = suspended;
}

static struct MHD_Connection *connection(void)
{
    static char any;
    return (struct MHD_Connection *)(void *)&any;
}

Test(waker, is_counted_until_nobody_wakes_it_any_more)
{
    struct waker *w = waker_new(connection(), &suspended);
    cr_assert(waker_wait(w));
    cr_assert_eq(suspended, 1);
    waker_signal(w, 0);
    cr_assert(resumes == 1 && left == 1, "the library is still being called");
    cr_assert_eq(suspended, 0);
    waker_signal(w, 0);
    cr_assert(resumes == 1 && suspended == 0);
    cr_assert_not(waker_wait(w), "a signal came since it looked");
    waker_divert(w, tell, NULL);
    cr_assert(waker_wait(w));
    waker_signal(w, 0);
    cr_assert(woken == 1 && left == 1 && suspended == 0 && resumes == 1);
    waker_release(w);
    waker_detach(w);
    waker_unref(w);
}
