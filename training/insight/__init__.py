"""What a person should do about an evaluation: suspected labels, comparisons of runs, pictures and
a page.

The measures themselves are in `training/evaluation/`; the commands that write all of it in
`training/commands/`.
"""
