"""Work in rounds, in a thread that goes on only while somebody looks."""

import threading
import time
from collections.abc import Callable

# A page that is seen asks more often than this.
NOBODY_SECONDS = 12.0
# A round that takes longer is left to end by itself.
END_SECONDS = 2.0


class Rounds:
    """Calls `go_round` again and again, which returns for how many seconds to rest.

    The thread ends when nobody looks, when `goes_on` is false, or with an exception of `go_round`; the next look starts
    another. `ended` is called then.
    """

    def __init__(
        self,
        name: str,
        go_round: Callable[[], float],
        *,
        goes_on: Callable[[], bool] = lambda: True,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._go_round = go_round
        self._goes_on = goes_on
        self._ended = ended
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._looked = 0.0
        self._woken = threading.Event()
        self._over = threading.Event()

    @property
    def is_running(self) -> bool:
        return self._thread is not None

    @property
    def is_over(self) -> bool:
        """Whether it is to end for good."""
        return self._over.is_set()

    def look(self) -> None:
        """Call when somebody looks."""
        with self._lock:
            self._looked = time.monotonic()
            if self._thread is None and not self.is_over and self._goes_on():
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()

    def wake(self) -> None:
        """Ends the rest."""
        self._woken.set()

    def pause(self, seconds: float) -> bool:
        """For `go_round`: waits in its middle. True at once if it is to end for good."""
        return self._over.wait(max(0.0, seconds))

    def stop(self) -> None:
        """Begins no round any more."""
        self._over.set()
        self._woken.set()

    def end(self, seconds: float | None = END_SECONDS) -> None:
        """As `stop`; waits for the end of the round that runs, but no longer than this, if it is given."""
        self.stop()
        with self._lock:
            thread = self._thread
        if thread:
            thread.join(seconds)

    def _work(self) -> None:
        try:
            while self._is_wanted():
                self._woken.wait(self._go_round())
                self._woken.clear()
        except BaseException:
            with self._lock:
                self._thread = None
            raise
        finally:
            self._ended()

    def _is_wanted(self) -> bool:
        with self._lock:
            is_wanted = not self.is_over and time.monotonic() - self._looked < NOBODY_SECONDS and self._goes_on()
            if not is_wanted:
                self._thread = None  # under the lock: a look that comes now starts another
            return is_wanted
