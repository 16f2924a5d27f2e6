"""Video tracking with the open head: who is seen where, what their heads are, and how they move.

Three passes, each of bounded memory: the faces of every frame (`sightings`), one head for each person from a few good
frames (`people`, `key_frames`), and pose, expression and gaze of every frame with that head held fast (`solving`).
What a pass has finished lies in a `Checkpoint`, so that a stopped run goes on where it was.
"""
