"""What a run shows and writes down: log lines, curves, pictures, its folder, and the black box with
its replay.

Nothing here changes what is trained; watching the processes of a job is `training/launch/watch.py`.
"""
