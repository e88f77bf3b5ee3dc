"""`convert.py check=true`: looks at a raw data set before anything is written.

It judges nothing by itself: the same policies as the converter's apply.
"""
