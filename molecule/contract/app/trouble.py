"""A process that ends, or takes memory, as a signal tells it: USR1 exit 0, USR2 exit 1, HUP memory of its own, ALRM memory of a child."""
import os
import signal
import sys

SIGNALS = [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGALRM]


def take_memory() -> None:
    """Take memory until the kernel ends this process."""
    held = []
    while True:
        held.append(bytearray(8 * 1024 * 1024))


signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
while True:
    got = signal.sigwait(SIGNALS)
    if got == signal.SIGUSR2:
        sys.exit(1)
    elif got == signal.SIGHUP:
        take_memory()
    elif got == signal.SIGALRM:
        child = os.fork()
        if not child:
            take_memory()
        os.waitpid(child, 0)
    else:
        sys.exit(0)
