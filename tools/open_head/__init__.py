"""How the open head is baked out of MakeHuman's data; `tools/bake_open_head.py` runs it."""
