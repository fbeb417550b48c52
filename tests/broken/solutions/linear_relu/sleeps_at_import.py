"""expect: timeout / build

Sleeps for ever while it is imported: only the build's deadline ends it.
"""

import time

time.sleep(1e6)
