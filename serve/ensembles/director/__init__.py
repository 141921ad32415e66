"""The art director: talks about prompts, refines and explains them, proposes what to draw. By rules on the analysis of
prompts, or by a chat model whose answers are validated. May import the prompts ensemble, settings and errors. Begin
with `art_director`, then `rules`."""
