/* A disk that cannot say that what was written is on it: as long as the file that
   DOORWARD_TEST_FAILING_SYNC names is there, every fsync of a program that is started with this in
   LD_PRELOAD fails. */

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int sync_by(long number, int file) {
    const char *told = getenv("DOORWARD_TEST_FAILING_SYNC");
    if (told != NULL && access(told, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(number, file);
}

int fsync(int file) { return sync_by(SYS_fsync, file); }

int fdatasync(int file) { return sync_by(SYS_fdatasync, file); }
