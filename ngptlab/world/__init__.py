"""The processes of one run: who they are (`launched`), what they do together (`world`), who says why they ended (`last_word`)."""
