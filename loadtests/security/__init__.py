"""What guards cost a request, and whether limits hold."""
