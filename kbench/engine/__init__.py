"""From a plan to records: builds side by side, then one pair after another on the device."""
