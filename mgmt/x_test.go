package mgmt
import ("testing";"fmt")
func TestX(t *testing.T){
 c,p:=Load("testdata/good/full.yaml"); fmt.Print(p); if c!=nil{ for i,r:=range c.Policy.Rules{fmt.Printf("%d %v %+v\n",i,c.RulePosition(i),r)}; for _,t:=range c.Policy.Tables{fmt.Printf("%+v\n",t)}; fmt.Println(c.Policy.Ports, c.Policy.Neighbors,c.Hash)}
}
