"""Text encoders for the analysis of prompts: heads for concepts, mood and sentiment, fitted on labelled prompts, on
word vectors that are reduced and aligned here (`train text`), or on a checkpoint of `transformers` (`text`)."""
