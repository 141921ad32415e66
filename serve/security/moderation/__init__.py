"""Moderation: prompt rules, a safety engine for pictures, and the policy that acts on findings. Begin with `policy`."""
