"""What a reader sees: parameters of a notebook, claims and verdicts, figures and where they go,
drawings, widgets.
"""
