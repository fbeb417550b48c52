"""expect: timeout / build

Is never done being imported: every place that imports a candidate needs a deadline, the build's too.
"""

import signal
import time

signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    time.sleep(1.0)
