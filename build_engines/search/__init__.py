"""Engines that embed texts and pictures in one space, for search in the gallery."""
