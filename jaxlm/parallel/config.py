"""How the devices are arranged: data only."""

from dataclasses import dataclass

from jaxlm.errors import UsageError


@dataclass(frozen=True)
class MeshConfig:
    """Sizes of the mesh axes; one of them may be -1, which takes the devices that the others leave."""

    data: int = -1
    """Copies of the model, each with its part of the batch."""
    fsdp: int = 1
    """Parts that parameters and optimizer state are split into; the batch is split over it as well."""
    tensor: int = 1
    """Parts that each matrix product is split into."""

    def validate(self) -> None:
        """Raises UsageError for sizes that no mesh can have."""
        sizes = {"data": self.data, "fsdp": self.fsdp, "tensor": self.tensor}
        for name, size in sizes.items():
            if size != -1 and size < 1:
                raise UsageError(f"mesh.{name} is {size}; it must be at least 1, or -1 for the remaining devices")
        if sum(size == -1 for size in sizes.values()) > 1:
            raise UsageError("only one mesh axis can be -1 (the remaining devices)")
