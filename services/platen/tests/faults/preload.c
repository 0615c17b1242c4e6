/* Gives the process into which it is preloaded another clock and another disk:
 *
 * - PLATEN_CLOCK_AHEAD: seconds that its clock is ahead (behind, if negative);
 * - PLATEN_DISK: a file that may have two numbers in it at any time, milliseconds that every sync takes longer, and what it fails with (errno, or 0).
 *
 * The package faketime does not do for clocks: librdkafka waits by cnd_timedwait until a time of day, which faketime leaves alone, so that a clock that is
 * ahead makes every wait so much longer, and one that is behind makes it spin. A clock that is really off does neither. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>

static long ahead(void) {
    static long seconds;
    static int known;
    if (!known) {
        const char *text = getenv("PLATEN_CLOCK_AHEAD");
        seconds = text ? atol(text) : 0;
        known = 1;
    }
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += ahead();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec exact;
    int failed = clock_gettime(CLOCK_REALTIME, &exact);
    if (!failed) {
        now->tv_sec = exact.tv_sec;
        now->tv_usec = exact.tv_nsec / 1000;
    }
    return failed;
}

time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const struct timespec *restrict until) {
    static int (*real)(cnd_t *, mtx_t *, const struct timespec *);
    if (!real) real = (int (*)(cnd_t *, mtx_t *, const struct timespec *))dlsym(RTLD_NEXT, "cnd_timedwait");
    struct timespec kernels = *until;
    kernels.tv_sec -= ahead();
    return real(condition, mutex, &kernels);
}

/* What the file says is done; 0: the disk is to do it now. */
static int disturbed(void) {
    const char *path = getenv("PLATEN_DISK");
    FILE *file = path ? fopen(path, "re") : NULL;
    if (!file) return 0;
    long milliseconds = 0;
    int failure = 0;
    int said = fscanf(file, "%ld %d", &milliseconds, &failure);
    fclose(file);
    if (said != 2) return 0;
    struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&pause, NULL);
    return failure;
}

static int synced(const char *call, int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, call);
    int failure = disturbed();
    if (!failure) return real(file);
    errno = failure;
    return -1;
}

int fsync(int file) { return synced("fsync", file); }

int fdatasync(int file) { return synced("fdatasync", file); }
