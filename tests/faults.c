/* Counts the file operations of a process under a folder, and makes one of them fail or the last.

   LD_PRELOAD it; faults_arm(part, at, action, log): operations on paths that contain `part` are
   numbered from 1 and, where log >= 0, named there. At number `at`:
     action -1  SIGKILL before it        action -2  half of a write, then SIGKILL
     action > 0 that errno, for it and every later one that writes (a disk stays full) */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char part[4096];
static long at, count;
static int action, log_fd = -1, armed;

void faults_arm(const char *p, long n, int a, int l) {
  strncpy(part, p, sizeof part - 1);
  at = n; action = a; log_fd = l; count = 0; armed = 1;
}
long faults_count(void) { return count; }

static const char *of_fd(int fd, char *buffer, size_t size) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, buffer, size - 1);
  buffer[n < 0 ? 0 : n] = 0;
  return buffer;
}

/* 0: go on; 1: fail with errno; 2: half a write, then die. */
static int check(const char *name, const char *path, int writes) {
  if (!armed || !path || !strstr(path, part)) return 0;
  long n = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
  if (log_fd >= 0) dprintf(log_fd, "%ld %s %s\n", n, name, path);
  if (n == at && action == -1) kill(getpid(), SIGKILL);
  if (n == at && action == -2) return 2;
  if (at && n >= at && action > 0 && writes) { errno = action; return 1; }
  return 0;
}
static int die(void) { kill(getpid(), SIGKILL); return -1; }

#define REAL(type, name, ...) \
  static type (*real)(__VA_ARGS__); \
  if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)
#define FD char buffer[4096]; int saved = armed; const char *p = saved ? of_fd(fd, buffer, sizeof buffer) : ""
#define GUARD(name, path, writes) \
  do { int c = check(name, path, writes); if (c == 1) return -1; if (c == 2) return die(); } while (0)

#define OPEN(symbol) \
  int symbol(const char *path, int flags, ...) { \
    va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more); \
    REAL(int, #symbol, const char *, int, ...); \
    if (flags & (O_WRONLY | O_RDWR | O_CREAT)) GUARD("open", path, 1); \
    return real(path, flags, mode); }
OPEN(open)
OPEN(open64)
#define OPENAT(symbol) \
  int symbol(int at_fd, const char *path, int flags, ...) { \
    va_list more; va_start(more, flags); mode_t mode = va_arg(more, mode_t); va_end(more); \
    REAL(int, #symbol, int, const char *, int, ...); \
    if (flags & (O_WRONLY | O_RDWR | O_CREAT)) GUARD("open", path, 1); \
    return real(at_fd, path, flags, mode); }
OPENAT(openat)
OPENAT(openat64)
#define WRITE(symbol, extra, pass) \
  ssize_t symbol(int fd, const void *data, size_t size extra) { \
    REAL(ssize_t, #symbol, int, const void *, size_t, ...); \
    FD; int c = check("write", p, 1); \
    if (c == 1) return -1; \
    if (c == 2) { real(fd, data, size / 2 pass); return die(); } \
    return real(fd, data, size pass); }
#define COMMA ,
WRITE(write, , )
WRITE(pwrite, COMMA off_t offset, COMMA offset)
WRITE(pwrite64, COMMA off64_t offset, COMMA offset)
#define ON_FD(symbol, type, args, pass) \
  int symbol args { REAL(int, #symbol, int type); FD; GUARD(#symbol, p, 1); return real pass; }
ON_FD(fsync, , (int fd), (fd))
ON_FD(fdatasync, , (int fd), (fd))
ON_FD(ftruncate, COMMA off_t, (int fd, off_t size), (fd, size))
ON_FD(ftruncate64, COMMA off64_t, (int fd, off64_t size), (fd, size))
ssize_t writev(int fd, const struct iovec *v, int n) {
  REAL(ssize_t, "writev", int, const struct iovec *, int);
  FD; GUARD("writev", p, 1); return real(fd, v, n); }
int rename(const char *a, const char *b) {
  REAL(int, "rename", const char *, const char *); GUARD("rename", b, 1); return real(a, b); }
int renameat(int x, const char *a, int y, const char *b) {
  REAL(int, "renameat", int, const char *, int, const char *);
  GUARD("rename", b, 1); return real(x, a, y, b); }
int renameat2(int x, const char *a, int y, const char *b, unsigned flags) {
  REAL(int, "renameat2", int, const char *, int, const char *, unsigned);
  GUARD("rename", b, 1); return real(x, a, y, b, flags); }
int link(const char *a, const char *b) {
  REAL(int, "link", const char *, const char *); GUARD("link", b, 1); return real(a, b); }
int mkdir(const char *path, mode_t mode) {
  REAL(int, "mkdir", const char *, mode_t); GUARD("mkdir", path, 1); return real(path, mode); }
int mkdirat(int x, const char *path, mode_t mode) {
  REAL(int, "mkdirat", int, const char *, mode_t);
  GUARD("mkdir", path, 1); return real(x, path, mode); }
int unlink(const char *path) {
  REAL(int, "unlink", const char *); GUARD("unlink", path, 0); return real(path); }
int rmdir(const char *path) {
  REAL(int, "rmdir", const char *); GUARD("rmdir", path, 0); return real(path); }
int unlinkat(int fd, const char *path, int flags) {
  REAL(int, "unlinkat", int, const char *, int);
  FD; GUARD("unlink", path[0] == '/' ? path : p, 0); return real(fd, path, flags); }
