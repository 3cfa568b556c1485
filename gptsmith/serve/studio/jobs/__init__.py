"""Jobs: ordinary command lines in processes of their own, which a studio's death does not harm."""
