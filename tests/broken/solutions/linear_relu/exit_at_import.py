"""expect: crash / exited
says: exited with code 0 while the file was imported

Leaves with success before there is anything to judge.
"""

import os

print('{"status": "correct", "speedup": 1000.0}', flush=True)
os._exit(0)
