"""What penstock costs, beside what others cost: `report.py` runs everything and keeps the figures."""
