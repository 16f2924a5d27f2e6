"""Portrait animation: one photo of a person, re-rendered with the expressions of others.

`portrait` prepares the photo and draws it, `wearing` says what the person wears, `driving` reads the expressions,
`pictures` are a frame's files and `manifest` what a run remembers of itself. `likeness.reenact_runs` runs them all.
"""
