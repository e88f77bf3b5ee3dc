"""From the words of a command line to typed settings, `--help`, and errors in plain words.

The settings themselves live next to the code that uses them; here alone is Hydra known.
"""
