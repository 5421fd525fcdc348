"""
The hands: functions over frames of records. What they need of the world is a value or a port.

No Faust, no SQL, no clock of their own.
"""
