"""One-file HTML reports: tables that sort, curves, a matrix, and a browser of pictures with boxes.

A page is filled by whoever has something to tell (an evaluation, a check of data); nothing here
knows models.
"""
