"""What is done with a set that is there: verified, drawn, or upgraded from the published tools.

Making a set is `convert/`'s matter.
"""
