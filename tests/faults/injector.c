// Lets what a process writes fail on order, and its clock jump. The tests load it before the service (LD_PRELOAD).
// ENTRENOUS_FAULTS names a file that both have mapped: a struct orders.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum fault { NONE, FULL_DISK, FAILING_FLUSH, TORN_WRITE };

struct orders {
    int64_t fault;
    int64_t after; // so many writes or flushes go well before
    int64_t clock; // seconds that the time of day is ahead
    int64_t done;  // how often something failed
};

static struct orders *orders(void) {
    static struct orders *mapped;
    static struct orders nothing;
    if (!mapped) {
        const char *path = getenv("ENTRENOUS_FAULTS");
        int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
        void *place = file < 0 ? MAP_FAILED : mmap(NULL, sizeof nothing, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        mapped = place == MAP_FAILED ? &nothing : place;
        if (file >= 0) close(file);
    }
    return mapped;
}

static int is_file(int descriptor) {
    struct stat status;
    return fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
}

static int is_due(enum fault fault, int descriptor) {
    struct orders *given = orders();
    if (__atomic_load_n(&given->fault, __ATOMIC_ACQUIRE) != fault || !is_file(descriptor)) return 0;
    if (__atomic_sub_fetch(&given->after, 1, __ATOMIC_ACQ_REL) >= 0) return 0;
    __atomic_add_fetch(&given->done, 1, __ATOMIC_ACQ_REL);
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static ssize_t full(void) {
    errno = ENOSPC;
    return -1;
}

ssize_t write(int descriptor, const void *bytes, size_t length) {
    return is_due(FULL_DISK, descriptor) ? full() : REAL(write)(descriptor, bytes, length);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t length, off64_t at) {
    if (is_due(FULL_DISK, descriptor)) return full();
    if (is_due(TORN_WRITE, descriptor)) {
        REAL(pwrite64)(descriptor, bytes, length / 2, at);
        kill(getpid(), SIGKILL);
    }
    return REAL(pwrite64)(descriptor, bytes, length, at);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t length, off_t at) { return pwrite64(descriptor, bytes, length, at); }

static int flush_failed(void) {
    errno = EIO;
    return -1;
}

int fsync(int descriptor) { return is_due(FAILING_FLUSH, descriptor) ? flush_failed() : REAL(fsync)(descriptor); }

int fdatasync(int descriptor) { return is_due(FAILING_FLUSH, descriptor) ? flush_failed() : REAL(fdatasync)(descriptor); }

int clock_gettime(clockid_t clock, struct timespec *time) {
    int outcome = REAL(clock_gettime)(clock, time);
    if (outcome == 0 && clock == CLOCK_REALTIME) time->tv_sec += __atomic_load_n(&orders()->clock, __ATOMIC_ACQUIRE);
    return outcome;
}
