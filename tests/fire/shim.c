/* Lets storage calls fail. Preloaded into a process (LD_PRELOAD), it counts what changes files below
 * a folder, and answers the Nth of these calls with an error of the system's, or that one and all
 * later ones. Which call, which error, and where, is in a page that tests/fire/storage.py shares
 * with the process and with all that it starts; BLOCKSEARCH_SHIM names its file.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

struct page {            /* as `Page` in storage.py */
    int64_t counted;     /* calls so far */
    int64_t nth;         /* the one that fails, from 1; 0: none */
    int64_t error;       /* its errno */
    int64_t onwards;     /* whether all later ones fail, too */
    int64_t failed;      /* calls that failed */
    char folder[1024];   /* calls below it count */
    char first[1024];    /* the first that failed, in words */
};

static struct page *page;

__attribute__((constructor)) static void begin(void)
{
    const char *name = getenv("BLOCKSEARCH_SHIM");
    int opened = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    if (opened < 0)
        return;
    void *found = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, opened, 0);
    close(opened);
    page = found == MAP_FAILED ? NULL : found;
}

static int below(const char *path)
{
    size_t size = strlen(page->folder);
    return size && !strncmp(path, page->folder, size) && (path[size] == '/' || !path[size]);
}

/* Count a call on a path; 1 where it has to fail, with errno set. */
static int fails(const char *call, int at, const char *path)
{
    char whole[PATH_MAX], link[64];
    if (!page || !page->folder[0])
        return 0;
    if (path[0] != '/') {
        ssize_t size = 0;
        if (at == AT_FDCWD) {
            if (!getcwd(whole, sizeof whole))
                return 0;
            size = strlen(whole);
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", at);
            size = readlink(link, whole, sizeof whole - 1);
        }
        if (size < 0)
            return 0;
        snprintf(whole + size, sizeof whole - size, *path ? "/%s" : "%s", path);
        path = whole;
    }
    if (!below(path))
        return 0;
    int64_t number = __atomic_add_fetch(&page->counted, 1, __ATOMIC_SEQ_CST);
    if (page->error == ENOSPC && !strncmp(call, "unlink", 6)) /* a full disk can be emptied */
        return 0;
    if (!page->nth || number < page->nth || (number > page->nth && !page->onwards))
        return 0;
    if (__atomic_add_fetch(&page->failed, 1, __ATOMIC_SEQ_CST) == 1)
        snprintf(page->first, sizeof page->first, "%s %s", call, path + strlen(page->folder));
    errno = page->error;
    return 1;
}

static int fails_on(const char *call, int file)
{
    int before = errno;
    if (fails(call, file, ""))
        return 1;
    errno = before;
    return 0;
}

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

#define ON_FILE(result, name, parameters, arguments)        \
    result name parameters                                  \
    {                                                       \
        if (fails_on(#name, file))                          \
            return -1;                                      \
        return REAL(name) arguments;                        \
    }

ON_FILE(ssize_t, write, (int file, const void *data, size_t size), (file, data, size))
ON_FILE(ssize_t, pwrite, (int file, const void *data, size_t size, off_t at), (file, data, size, at))
ON_FILE(ssize_t, pwrite64, (int file, const void *data, size_t size, off64_t at), (file, data, size, at))
ON_FILE(ssize_t, writev, (int file, const struct iovec *data, int count), (file, data, count))
ON_FILE(int, fsync, (int file), (file))
ON_FILE(int, fdatasync, (int file), (file))
ON_FILE(int, ftruncate, (int file, off_t size), (file, size))
ON_FILE(int, ftruncate64, (int file, off64_t size), (file, size))

#define ON_PATH(name, parameters, at, path, arguments)      \
    int name parameters                                     \
    {                                                       \
        if (fails(#name, at, path))                         \
            return -1;                                      \
        return REAL(name) arguments;                        \
    }

ON_PATH(rename, (const char *from, const char *to), AT_FDCWD, to, (from, to))
ON_PATH(renameat, (int own, const char *from, int other, const char *to), other, to, (own, from, other, to))
ON_PATH(unlink, (const char *path), AT_FDCWD, path, (path))
ON_PATH(unlinkat, (int at, const char *path, int flags), at, path, (at, path, flags))
ON_PATH(mkdir, (const char *path, mode_t mode), AT_FDCWD, path, (path, mode))

/* Numpy writes arrays through the C library's streams. */
size_t fwrite(const void *data, size_t size, size_t count, FILE *stream)
{
    if (fails_on("fwrite", fileno(stream)))
        return 0;
    return REAL(fwrite)(data, size, count, stream);
}

/* Of opening, what makes a file. */
static int opens(const char *call, int at, const char *path, int flags)
{
    return flags & O_CREAT && faccessat(at, path, F_OK, 0) && fails(call, at, path);
}

#define OPENING(name)                                       \
    int name(const char *path, int flags, ...)              \
    {                                                       \
        va_list more;                                       \
        va_start(more, flags);                              \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0; \
        va_end(more);                                       \
        if (opens(#name, AT_FDCWD, path, flags))            \
            return -1;                                      \
        return REAL(name)(path, flags, mode);               \
    }

OPENING(open)
OPENING(open64)

#define OPENING_AT(name)                                    \
    int name(int at, const char *path, int flags, ...)      \
    {                                                       \
        va_list more;                                       \
        va_start(more, flags);                              \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0; \
        va_end(more);                                       \
        if (opens(#name, at, path, flags))                  \
            return -1;                                      \
        return REAL(name)(at, path, flags, mode);           \
    }

OPENING_AT(openat)
OPENING_AT(openat64)
